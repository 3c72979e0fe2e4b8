//! Routes are data: what is served where, to whom, how often, and by which handler.

use std::future::Future;
use std::pin::Pin;

use hyper::Method;

use super::answer::Answer;
use super::cx::Cx;
use super::error::ApiError;
use super::limits::Tier;
use crate::model::invalid::Invalid;
use crate::sign::access::Grant;
use crate::wire::query::decode_path_segment;

/// A handler's answer, on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send>>;
/// What answers a route.
pub type Handler = fn(Cx) -> Answering;

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its method")]
pub enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    /// HEAD asks what GET would answer.
    fn of(method: &Method) -> Option<Verb> {
        match *method {
            Method::GET | Method::HEAD => Some(Verb::Get),
            Method::POST => Some(Verb::Post),
            Method::PUT => Some(Verb::Put),
            Method::DELETE => Some(Verb::Delete),
            _ => None,
        }
    }

    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Delete => "DELETE",
        }
    }
}

/// Which keys open a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// `S` in the table: secret keys only.
    Secret,
    /// `P` and `P†`: public keys too.
    Public,
    /// `P‡`: public keys with a user token that names the object; where the path names none, the handler checks which.
    Granted,
}

/// Where a request names the tenant that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantIn {
    /// As `tenant` in the query.
    Query,
    /// As `tenant` in the body: an id, or an object that has one.
    Body,
    /// As `id` in the path.
    Path,
    /// It is the message's.
    Message,
}

/// One operation.
pub struct Route {
    pub verb: Verb,
    /// With parameters in braces; `{user_id}` is whom the request is about.
    pub path: &'static str,
    /// The operation's id in the API description.
    pub operation: &'static str,
    pub keys: Keys,
    /// What a user token must give; where the path names no user, the handler checks it.
    pub grant: Option<Grant>,
    pub tier: Tier,
    /// Counted by the user in the path, whoever asks (F-RAT-03).
    pub is_counted_by_user: bool,
    /// Closed to keys that are limited to tenants, unless this says which tenant a request is about.
    pub tenant: Option<TenantIn>,
    /// It is about what is forgotten after a time (F-RET-04).
    pub is_kept_for_a_time: bool,
    pub handler: Handler,
}

impl Route {
    /// An operation for secret keys.
    pub const fn new(verb: Verb, path: &'static str, operation: &'static str, tier: Tier, handler: Handler) -> Self {
        Route {
            verb,
            path,
            operation,
            keys: Keys::Secret,
            grant: None,
            tier,
            is_counted_by_user: false,
            tenant: None,
            is_kept_for_a_time: false,
            handler,
        }
    }

    /// The same operation, open to public keys whose token, if any, gives `grant`.
    pub const fn public(mut self, grant: Grant) -> Self {
        self.keys = Keys::Public;
        self.grant = Some(grant);
        self
    }

    /// The same operation, open to public keys whose token gives `grant` on the object in the path.
    pub const fn granted(mut self, grant: Grant) -> Self {
        self.keys = Keys::Granted;
        self.grant = Some(grant);
        self
    }

    /// The same operation, whose requests are about a tenant.
    pub const fn in_tenant(mut self, place: TenantIn) -> Self {
        self.tenant = Some(place);
        self
    }

    /// The same operation, about what is forgotten after a time.
    pub const fn kept_for_a_time(mut self) -> Self {
        self.is_kept_for_a_time = true;
        self
    }

    /// The same operation, counted by the user in its path.
    pub const fn counted_by_user(mut self) -> Self {
        self.is_counted_by_user = true;
        self
    }
}

/// What a path's parameters are, decoded once (F-TRN-13).
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All routes, ready to be looked up.
pub struct Table {
    routes: Vec<&'static Route>,
    paths: matchit::Router<Vec<usize>>,
}

/// A route that was found.
pub(crate) struct Found {
    /// Its number, by which it is counted.
    pub(crate) number: usize,
    pub(crate) route: &'static Route,
    pub(crate) params: Params,
}

impl Table {
    /// A table of these routes. Static segments win over parameters (F-TRN-18).
    pub fn new(routes: Vec<&'static Route>) -> Self {
        let mut by_path: Vec<(&'static str, Vec<usize>)> = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            match by_path.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, numbers)) => numbers.push(number),
                None => by_path.push((route.path, vec![number])),
            }
        }
        let mut paths = matchit::Router::new();
        for (path, numbers) in by_path {
            paths.insert(path, numbers).expect("the paths of the table are fixed and do not conflict");
        }
        Table { routes, paths }
    }

    /// Every route, by its number.
    pub fn routes(&self) -> &[&'static Route] {
        &self.routes
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Found, ApiError> {
        let matched = self.paths.at(path).map_err(|_| ApiError::no_route())?;
        let numbers = matched.value;
        let wanted = Verb::of(method);
        let number = numbers.iter().copied().find(|number| Some(self.routes[*number].verb) == wanted);
        let number = number.ok_or_else(|| ApiError::no_method(&self.allow(numbers)))?;
        let mut params = Vec::with_capacity(matched.params.len());
        for (name, raw) in matched.params.iter() {
            let value = decode_path_segment(raw).map_err(|fault| Invalid { path: name.to_owned(), ..fault })?;
            params.push((name.to_owned(), value));
        }
        Ok(Found { number, route: self.routes[number], params: Params(params) })
    }

    fn allow(&self, numbers: &[usize]) -> String {
        let mut verbs: Vec<&str> = numbers.iter().map(|number| self.routes[*number].verb.as_str()).collect();
        verbs.push("OPTIONS");
        verbs.join(", ")
    }
}

/// The names of a path's parameters.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}
