/** What a person is told before they log in. */
export interface ShownLogin {
  readonly server: string;
  readonly tenant: string;
  /** The principal who began it. */
  readonly by: string;
  /** Where the account will be used, and where it is. */
  readonly usedAt: string;
  readonly loginAt: string;
  readonly scopes: string | null;
}

/** A page that needs no script: who wants the account, for what, and a field for the code that only who began the login was shown. */
export function renderLoginPage(shown: ShownLogin, fields: Readonly<Record<string, string>>, isWrong: boolean): string {
  const { server, tenant, by, usedAt, loginAt, scopes } = Object.fromEntries(
    Object.entries(shown).map(([name, value]) => [name, value === null ? null : escaped(value)]),
  ) as { readonly [Name in keyof ShownLogin]: ShownLogin[Name] }; // the same members
  const hidden = Object.entries(fields).map(([name, value]) => `<input type="hidden" name="${escaped(name)}" value="${escaped(value)}">`);
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Log in to ${server}</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}input,button{font:inherit;padding:.4rem}</style></head><body>
<h1>Log in to ${server}?</h1>
<p>You will be sent to <b>${loginAt}</b>. Your account there is then used at <b>${usedAt}</b> by all agents of the tenant <b>${tenant}</b>, until somebody logs out${scopes === null ? '' : `, for <b>${scopes}</b>`}.</p>
<p>This login was begun by <b>${by}</b>. Go on only if that was you. If somebody sent you this page, close it: they would act in your name.</p>
<form method="get">${hidden.join('')}<p><label>The code that was shown with the address: <input name="code" autocomplete="off" autofocus required maxlength="40"></label> <button>Log in</button></p>
${isWrong ? '<p role="alert"><b>That is not the code.</b></p>' : ''}</form></body></html>
`;
}

/** Nothing is loaded, and no other page can lie over this one or learn its address. */
export const loginPageHeaders = {
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
