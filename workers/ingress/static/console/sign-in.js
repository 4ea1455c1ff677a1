// Signing in: an operator key, or an account of Supabase that has the role of an operator.

const json = (value) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
const AWAY = "The server cannot be reached. Try again in a moment.";

async function begin(credentials) {
  const answer = await fetch("session", json(credentials));
  if (answer.ok) { location.replace("../console"); return; }
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail || AWAY);
}

async function signInToAccount(email, password) {
  const settings = await (await fetch("settings.json")).json();
  const options = json({ email, password });
  options.headers.apikey = settings.anon_key;
  const answer = await fetch(`${settings.supabase_url}/auth/v1/token?grant_type=password`, options);
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(answer.status < 500 ? "E-mail or password is wrong." : "Supabase does not answer. Try again in a moment, or use an operator key.");
  return found.access_token;
}

function handle(form, submit) {
  const error = form.querySelector(".error-text");
  const button = form.querySelector("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    button.disabled = true;
    try {
      await submit(new FormData(form));
    } catch (failure) {
      error.textContent = failure instanceof TypeError ? AWAY : failure.message;
      error.hidden = false;
      button.disabled = false;
      form.querySelector("input").focus();
    }
  });
}

handle(document.getElementById("with-key"), (given) => begin({ key: given.get("key") }));
handle(document.getElementById("with-account"), async (given) =>
  begin({ token: await signInToAccount(given.get("email"), given.get("password")) }));
