// What allauth's scripts leave to the page: a passkey that did not work is told to the person, not to the console.
(function () {
  "use strict";
  function tell(text) {
    var note = document.getElementById("passkey-problem");
    if (!note) return;
    note.textContent = text;
    note.hidden = false;
  }
  function reason(error) {
    // Browsers give no passkeys to addresses made of numbers; the laptop's portal answers to a name as well.
    if (error && error.name === "SecurityError") {
      return "This browser makes passkeys for host names only." +
        (location.hostname === "127.0.0.1" ? " Open the portal at http://localhost:" + location.port + " for them." : "");
    }
    if (error && error.name === "InvalidStateError") return "This device has a passkey for this account already.";
    if (error && error.name === "NotAllowedError") return "The device did not confirm it. Try again, or use another way.";
    return "That did not work. Try again, or use another way.";
  }
  document.addEventListener("allauth.error", function (event) {
    event.preventDefault();
    tell(reason(event.detail.exception));
  });
  if (!window.PublicKeyCredential) {
    document.querySelectorAll("#passkey_login, #use_key, #add_key").forEach(function (button) { button.disabled = true; });
  }
})();
