// Passkeys in a page. A form with `data-passkey` asks the browser for a passkey when it is sent, puts the browser's
// answer as JSON into its field `credential`, and is sent then.
//
// "create" has the service's options in `data-options`. "get" asks for new ones, since their challenge works once.

const OPTIONS = "/v1/sessions/passkey/options";
const MESSAGES = {
  InvalidStateError: "This device has a passkey of your account already.",
  NotAllowedError: "It was cancelled, or took too long. Try again.",
  SecurityError: "Passkeys do not work at this address of the page.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) prepare(form);

function prepare(form) {
  if (typeof window.PublicKeyCredential !== "function") {
    show(form, "This browser has no passkeys, or the page was not opened by HTTPS.");
    return;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(form);
  });
  form.querySelector("button").disabled = false;
}

async function submit(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  show(form, "");
  try {
    const credential = form.dataset.passkey === "create" ? await created(form) : await gotten();
    form.elements.credential.value = JSON.stringify(jsonOf(credential));
    form.submit();
  } catch (error) {
    show(form, MESSAGES[error.name] ?? error.message);
  } finally {
    button.disabled = false;
  }
}

function show(form, text) {
  const place = form.querySelector("[role=alert]");
  place.textContent = text;
  place.hidden = !text;
}

function created(form) {
  return navigator.credentials.create({ publicKey: creationOptionsOf(JSON.parse(form.dataset.options)) });
}

async function gotten() {
  const response = await fetch(OPTIONS, { method: "POST" });
  if (!response.ok) throw new Error("The service has much to do. Try again in a moment.");
  const { public_key: options } = await response.json();
  return navigator.credentials.get({ publicKey: requestOptionsOf(options) });
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
