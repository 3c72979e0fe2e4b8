// Asks the server's REST API about a user, as a page may: with the public key, and the user's token where there is one.

/**
 * @param {{host: string, apiKey: string, userToken?: string|null}} access `host` as sockets have it, too
 * @param {string} user
 * @param {string} path below the user's
 * @param {RequestInit} [init]
 */
export function ask({ host, apiKey, userToken }, user, path, init) {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...(userToken && { "x-knock-user-token": userToken }) };
  return fetch(`${host.replace(/^ws/, "http").replace(/\/+$/, "")}/v1/users/${encodeURIComponent(user)}/${path}`, { headers, ...init });
}
