// Passkeys in a page: turns the service's options into a dialogue of the browser, and its result into JSON.
//
// A page passes `post(path, body)`, which sends JSON to the API with the page's own authentication, and returns the
// response's JSON, or throws what the page shows as an error. Errors of the browser are DOMExceptions: NotAllowedError
// (cancelled, or timed out) and InvalidStateError (this device has a passkey of the account already).

/** Return whether this browser has passkeys. */
export function hasPasskeys() {
  return typeof window.PublicKeyCredential === "function";
}

/** Return whether the browser can offer passkeys in the autofill of an input with `autocomplete="username webauthn"`. */
export async function canAutofillPasskeys() {
  return hasPasskeys() && Boolean(await PublicKeyCredential.isConditionalMediationAvailable?.());
}

/** Register a passkey. Return `{passkey, recovery_codes}`; the codes are null unless it is the first second factor. */
export async function registerPasskey(post, name) {
  const { public_key: options } = await post("/v1/users/me/passkeys/options");
  const credential = await navigator.credentials.create({ publicKey: creationOptionsOf(options) });
  return post("/v1/users/me/passkeys", { name, credential: jsonOf(credential) });
}

/** Sign in with a passkey, and return the tokens. `mediation: "conditional"` waits in the autofill for the user. */
export async function signInWithPasskey(post, { mediation, signal } = {}) {
  return post("/v1/sessions/passkey", { credential: await assertion(post, { mediation, signal }) });
}

/** Complete a sign-in whose password was right, and return the tokens. */
export async function answerChallengeWithPasskey(post, challenge) {
  return post("/v1/sessions/second-factor", { challenge, passkey: await assertion(post) });
}

/** Authenticate again in the present session, before a sensitive change. */
export async function stepUpWithPasskey(post) {
  return post("/v1/sessions/step-up", { passkey: await assertion(post) });
}

async function assertion(post, { mediation, signal } = {}) {
  const { public_key: options } = await post("/v1/sessions/passkey/options");
  return jsonOf(await navigator.credentials.get({ publicKey: requestOptionsOf(options), mediation, signal }));
}

// Browsers from before 2025 lack the conversions to and from JSON.

function creationOptionsOf(json) {
  if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(json);
  return {
    ...json,
    challenge: bytesOf(json.challenge),
    user: { ...json.user, id: bytesOf(json.user.id) },
    excludeCredentials: json.excludeCredentials.map(descriptorOf),
  };
}

function requestOptionsOf(json) {
  if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(json);
  return { ...json, challenge: bytesOf(json.challenge), allowCredentials: json.allowCredentials.map(descriptorOf) };
}

function descriptorOf(json) {
  return { ...json, id: bytesOf(json.id) };
}

function jsonOf(credential) {
  if (credential.toJSON) return credential.toJSON();
  const response = { clientDataJSON: textOf(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = textOf(credential.response[name]);
  }
  if (credential.response.getTransports) response.transports = credential.response.getTransports();
  return { id: credential.id, rawId: textOf(credential.rawId), type: credential.type, response };
}

function bytesOf(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

function textOf(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
