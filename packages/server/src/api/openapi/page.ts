import { type ErrorEntry, errorTable } from '@nexus-agent/protocol';
import type { OpenApiDocument, OpenApiOperation } from './document.ts';

/** The document as one HTML page that needs no script and no network. */
export function renderDocsPage(document: OpenApiDocument): string {
  const sections = document.tags.map((tag) => {
    const name = String(tag.name);
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([, operation]) => operation.tags.includes(name))
        .map(([method, operation]) => renderOperation(method, path, operation)),
    );
    return `<h2 id="${escapeHtml(name)}">${escapeHtml(name)}</h2>${operations.join('')}`;
  });
  const schemas = Object.entries(document.components.schemas).map(
    ([name, schema]) =>
      `<details id="schema-${escapeHtml(name)}"><summary><code>${escapeHtml(name)}</code></summary>${code(schema)}</details>`,
  );
  const errors = Object.entries<ErrorEntry>(errorTable).map(([name, entry]) => renderError(name, entry));
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Nexus Agent API</title><style>${style}</style></head><body>
<h1>Nexus Agent API <small>${escapeHtml(String(document.info.version))}</small></h1>
<p>The same as a document: <a href="/openapi.json">/openapi.json</a> (OpenAPI ${document.openapi}).</p>
<nav>${document.tags.map((tag) => `<a href="#${escapeHtml(String(tag.name))}">${escapeHtml(String(tag.name))}</a>`).join(' ')} <a href="#errors">errors</a> <a href="#schemas">schemas</a></nav>
${sections.join('')}
<h2 id="errors">errors</h2><p>Every failed answer is <code>application/problem+json</code> (RFC 9457) with one of these codes.</p>
<table><tr><th>code<th>status<th>retry<th>meaning<th>details${errors.join('')}</table>
<h2 id="schemas">schemas</h2>${schemas.join('')}
</body></html>`;
}

function renderError(name: string, { httpStatus, retryable, title, when, details = {} }: ErrorEntry): string {
  const keys = Object.entries(details).map(([key, what]) => `<code>${key}</code> ${prose(what)}`);
  return `<tr id="error-${name}"><td><code>${name}</code><td>${httpStatus}<td>${retryable ? 'yes' : 'no'}<td><b>${escapeHtml(title)}</b> ${prose(when)}<td>${keys.join('<br>')}`;
}

/** Text with the code in it, as Markdown marks it. */
function prose(text: string): string {
  return escapeHtml(text).replace(/`([^`]*)`/g, '<code>$1</code>');
}

function renderOperation(method: string, path: string, operation: OpenApiOperation): string {
  const parameters = operation.parameters.map(
    (parameter) =>
      `<li><code>${escapeHtml(String(parameter.name))}</code> <small>${escapeHtml(String(parameter.in))}</small> ${code(parameter.schema)}`,
  );
  const responses = Object.entries(operation.responses)
    .filter(([status]) => status !== 'default')
    .map(
      ([status, response]) =>
        `<h4>${status} ${escapeHtml(String(response.description))}</h4>${response.content === undefined ? '' : code(response.content)}`,
    );
  return `<details id="${operation.operationId}"><summary><b class="${method}">${method.toUpperCase()}</b> <code>${escapeHtml(path)}</code> ${escapeHtml(operation.summary)}</summary>
<p>${escapeHtml(operation.description)}</p>${parameters.length === 0 ? '' : `<h4>Parameters</h4><ul>${parameters.join('')}</ul>`}
${operation.requestBody === undefined ? '' : `<h4>Body</h4>${code(operation.requestBody.content)}`}${responses.join('')}</details>`;
}

/** JSON with its references as links. */
function code(value: unknown): string {
  const text = escapeHtml(JSON.stringify(value, null, 2) ?? '');
  return `<pre>${text.replace(/#\/components\/schemas\/(\w+)/g, '<a href="#schema-$1">$1</a>')}</pre>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

const style = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2433;background:#fff}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f6fa;padding:.6rem;overflow:auto;border-radius:6px;margin:.3rem 0}
details{border:1px solid #dde3ee;border-radius:8px;margin:.4rem 0;padding:.4rem .8rem}summary{cursor:pointer}
b.get{color:#0b6e4f}b.post{color:#1a56c4}b.put{color:#8a5a00}b.delete{color:#b3261e}small{color:#5b6577}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3ee}
@media(prefers-color-scheme:dark){body{color:#dfe5f1;background:#10141d}pre{background:#1a202d}details,td,th{border-color:#2b3446}a{color:#8ab4ff}}`;
