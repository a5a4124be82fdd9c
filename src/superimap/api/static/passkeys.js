// Passkeys: a form with data-passkey is answered by the browser's authenticator, and then sent.
"use strict";

const canUsePasskeys = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;

const answerOf = async (form) => {
  const options = JSON.parse(form.dataset.options);
  if (form.dataset.passkey === "create") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return navigator.credentials.create({ publicKey });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.hidden = !canUsePasskeys;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector("[role=status]");
    said.textContent = "";
    try {
      const credential = await answerOf(form);
      form.elements.answer.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      said.textContent = error.name === "InvalidStateError"
        ? "This device has a passkey for you already."
        : "The device did not confirm.";
    }
  });
}
