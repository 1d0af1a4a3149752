// The two pages: sign in, and what went wrong. Plain HTML without script.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text) => String(text).replace(/[&<>"']/g, (character) => ESCAPES[character]);

const STYLE = `
:root { color-scheme: light dark; --line: #8885; --ink: #4338ca; }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif;
  background: light-dark(#f4f4f8, #15151c); }
main { width: min(24rem, 92vw); padding: 2rem; border: 1px solid var(--line); border-radius: 14px;
  background: light-dark(#fff, #1e1e28); }
h1 { margin: 0 0 .25rem; font-size: 1.35rem; }
p { margin: 0 0 1.25rem; opacity: .75; }
label { display: block; font-weight: 600; margin-bottom: .35rem; }
input { width: 100%; font: inherit; padding: .6rem .75rem; border: 1px solid var(--line); border-radius: 8px; }
.problem { color: light-dark(#b91c1c, #fca5a5); opacity: 1; margin: .5rem 0 0; }
.buttons { display: flex; gap: .75rem; margin-top: 1.25rem; }
button { flex: 1; font: inherit; font-weight: 600; padding: .6rem; border: 1px solid var(--line); border-radius: 8px;
  background: none; color: inherit; cursor: pointer; }
button.main { background: var(--ink); border-color: var(--ink); color: #fff; }
small { display: block; margin-top: 1.25rem; opacity: .65; }
code { font-size: .95em; }
`;

const page = (title, body) => `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title><style>${STYLE}</style></head>
<body><main>${body}</main></body>
</html>
`;

/** The form posts to its own address: `email`, or `cancel`. */
export function loginPage({ client, email = '', problem }) {
  return page('Sign in', `
<h1>Sign in</h1>
<p>to continue to ${escape(client)}</p>
<form method="post">
<label for="email">E-mail</label>
<input id="email" name="email" type="email" autocomplete="email" required autofocus value="${escape(email)}">
${problem ? `<p class="problem" role="alert">${escape(problem)}</p>` : ''}
<div class="buttons">
<button class="main" type="submit">Sign in</button>
<button type="submit" name="cancel" value="1" formnovalidate>Cancel</button>
</div>
</form>
<small>This is the local stack: any address works and no password is asked for. With <code>+unverified</code> in it
(<code>ada+unverified@example.org</code>) the address counts as not verified.</small>`);
}

export function errorPage({ error, error_description: description }) {
  return page('Sign-in failed', `<h1>Sign-in failed</h1><p>${escape(description ?? '')}</p><code>${escape(error)}</code>`);
}
