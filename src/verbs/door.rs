//! The door: who is asking, by API key and user token; the same for requests and sockets (F-SOC-04).

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dashmap::DashMap;
use tokio::sync::Mutex;

use crate::model::environment::Environment;
use crate::model::feed::Tenants;
use crate::sign::access::{Access, Confined, Grant};
use crate::sign::admission::Demand;
use crate::sign::api_key::{ApiKey, Kind};
use crate::sign::key_ring::{KeyRing, Material, SigningKey};
use crate::sign::key_scope::KeyScope;
use crate::sign::refusal::{Code, Refusal};
use crate::sign::user_token::Claims;
use crate::store::keys::{KnownKey, SigningKeyRow, SigningKeysStamp};
use crate::store::{self, Env};

use super::Core;

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Caller {
    pub environment: Arc<Environment>,
    pub kind: Kind,
    /// What the user token says, where one counts.
    pub claims: Option<Claims>,
    /// What a secret key is limited to.
    pub scope: Option<KeyScope>,
}

/// By which keys somebody was let in. Whoever stays longer than a request is let in for as long as these are live.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pass {
    /// The digest of the API key.
    pub api_key: String,
    pub env: Env,
    /// The name of the key that signed the user token, where one counts.
    pub kid: Option<Arc<str>>,
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub struct Admitted {
    pub caller: Caller,
    pub pass: Pass,
}

/// The keys that were live at one moment.
#[derive(Debug, Default)]
pub struct LiveKeys {
    /// Their digests.
    pub api_keys: HashSet<String>,
    /// Their names, each in its environment.
    pub signing_keys: HashSet<(Env, String)>,
}

/// Why a pass is no longer good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapsed {
    /// Its API key was revoked.
    ApiKey,
    /// The key that signed its user token was retired.
    SigningKey,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Barred {
    /// The key or the token does not do.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The keys could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<Refusal> for Barred {
    fn from(refusal: Refusal) -> Self {
        Barred::Refused(refusal)
    }
}

/// Key rings as last read, each with the stamp of the rows it was made from.
#[derive(Default)]
pub struct Rings {
    by_env: DashMap<Env, (SigningKeysStamp, KeyRing)>,
    /// The turn to read them anew: whoever comes in a crowd finds what the first has read.
    turn: Mutex<()>,
}

impl Rings {
    fn known(&self, env: Env, stamp: &SigningKeysStamp) -> Option<KeyRing> {
        self.by_env.get(&env).filter(|known| known.0 == *stamp).map(|known| known.1.clone())
    }
}

impl Core {
    /// Lets a caller in, or says why not. Keys are read anew each time: a revocation counts at once (F-AUT-03).
    /// `claimed_user` is whom the request names; a bare HMAC is of that user's id.
    pub async fn admit(
        &self,
        key: &ApiKey,
        token: Option<&str>,
        claimed_user: Option<&str>,
    ) -> Result<Admitted, Barred> {
        let unknown =
            || Refusal::new(Code::AuthenticationRequired, "The API key is not known here, or it was revoked.");
        let known = self.store.known_key(&key.digest()).await?;
        let KnownKey { key: row, signing } =
            known.filter(|known| known.key.revoked_at.is_none()).ok_or_else(unknown)?;
        let environment = self.catalog.environment(row.env).ok_or_else(unknown)?;
        let demand = Demand {
            is_enhanced: environment.settings.enhanced_security,
            keys: if key.kind() == Kind::Secret { KeyRing::default() } else { self.key_ring(row.env, signing).await? },
        };
        let claims = demand.admit(key.kind(), token, claimed_user, self.clock.now())?;
        let kid = claims.as_ref().and_then(|claims| Option::clone(&claims.kid));
        let pass = Pass { api_key: row.digest, env: row.env, kid };
        Ok(Admitted {
            caller: Caller { environment: Arc::clone(environment), kind: key.kind(), claims, scope: row.scope },
            pass,
        })
    }

    /// The keys that are live now, all in one reading.
    pub async fn live_keys(&self) -> Result<LiveKeys, store::Error> {
        let api_keys = self.store.api_keys().await?.into_iter().filter(|row| row.revoked_at.is_none());
        let signing_keys = self.store.signing_keys().await?.into_iter().filter(|row| row.retired_at.is_none());
        Ok(LiveKeys {
            api_keys: api_keys.map(|row| row.digest).collect(),
            signing_keys: signing_keys.map(|row| (row.env, row.kid)).collect(),
        })
    }

    /// The environment's live signing keys, when they stand as `stamp` says.
    async fn key_ring(&self, env: Env, stamp: SigningKeysStamp) -> Result<KeyRing, Barred> {
        if let Some(known) = self.rings.known(env, &stamp) {
            return Ok(known);
        }
        let _turn = self.rings.turn.lock().await;
        if let Some(known) = self.rings.known(env, &stamp) {
            return Ok(known);
        }
        let rows = self.store.signing_keys().await?;
        let live = rows.iter().filter(|row| row.env == env && row.retired_at.is_none());
        let keys = live.map(signing_key).collect::<Result<Vec<_>, _>>()?;
        let ring = KeyRing::new(&keys).map_err(|fault| store::Error::Damaged(format!("signing keys: {fault}")))?;
        self.rings.by_env.insert(env, (stamp, ring.clone()));
        Ok(ring)
    }
}

impl LiveKeys {
    /// Why `pass` is no longer good; none while it is.
    pub fn lapse(&self, pass: &Pass) -> Option<Lapsed> {
        if !self.api_keys.contains(&pass.api_key) {
            return Some(Lapsed::ApiKey);
        }
        let is_live = |kid: &Arc<str>| self.signing_keys.contains(&(pass.env, kid.to_string()));
        match &pass.kid {
            Some(kid) if !is_live(kid) => Some(Lapsed::SigningKey),
            _ => None,
        }
    }
}

fn signing_key(row: &SigningKeyRow) -> Result<SigningKey, store::Error> {
    let damaged = || store::Error::Damaged(format!("signing key `{}` cannot be read", row.kid));
    let secret = || URL_SAFE_NO_PAD.decode(&row.material).map_err(|_| damaged());
    let material = match row.alg.as_str() {
        "hs256" => Material::Hs256(secret()?),
        "hmac" => Material::BareHmac(secret()?),
        "rs256" => Material::Rs256(row.material.clone().into_bytes()),
        _ => return Err(damaged()),
    };
    Ok(SigningKey { kid: Some(row.kid.clone()), material })
}

impl Caller {
    /// The environment's number.
    pub fn env(&self) -> Env {
        self.environment.number
    }

    /// What the caller's token grants; none when everything of the key's kind is open to it.
    pub fn access(&self) -> Option<&Access> {
        self.claims.as_ref().map(|claims| &claims.access)
    }

    /// Refuses unless the caller may do `grant` for `user` (F-AUT-15, F-GRN-08).
    pub fn require_user(&self, grant: Grant, user: &str) -> Result<(), Refusal> {
        self.access().map_or(Ok(()), |access| access.require_user(grant, user))
    }

    /// Which tenants' items the caller may see under `grant`, when it asks for `tenant` (F-GRN-11 to F-GRN-13).
    pub fn tenants(&self, grant: Grant, tenant: Option<&str>) -> Result<Tenants, Refusal> {
        if let Some(scope) = self.scope.as_ref().filter(|scope| scope.has_tenants()) {
            return Ok(Tenants::These { tenants: scope.tenants.clone(), with_none: false });
        }
        let Some(access) = self.access() else { return Ok(Tenants::Any) };
        Ok(match access.scope(grant).confine(tenant)? {
            None => Tenants::Any,
            Some(Confined { tenants, include_none }) => {
                Tenants::These { tenants: tenants.into_iter().collect(), with_none: include_none }
            }
        })
    }
}
