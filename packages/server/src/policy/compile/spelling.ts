import type { PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import { PolicyAction, SystemPart } from '@nexus-agent/protocol';
import { closest } from '#core';
import { filePath, plainPath } from './files.ts';
import { authorityOf, hostAndPort, hostPattern } from './hosts.ts';
import { actionGroups } from './schema.ts';
import { operatorTenant } from './types.ts';

/**
 * What of a policy could never meet a request because requests write it otherwise, with the right spelling; null when there is nothing.
 * A forbid that never applies is a hole, so such a policy is refused.
 */
export function misspelling(policy: PolicyJson): string | null {
  const said = new Statements(policy);
  for (const entity of said.entities) {
    const wrong = wrongEntity(entity);
    if (wrong !== null) return wrong;
  }
  for (const { of, text, isPattern } of said.comparisons) {
    const wrong = wrongComparison(said, of, text, isPattern);
    if (wrong !== null) return wrong;
  }
  return null;
}

/** The tools that a policy names one by one. */
export function toolsNamed(policy: PolicyJson): string[] {
  return new Statements(policy).entities.filter(({ type }) => type === 'Tool').map(({ id }) => id);
}

/** Texts that a policy compares something with. */
export function literalsOf(policy: PolicyJson, path: string): readonly { readonly text: string; readonly isPattern: boolean }[] {
  return new Statements(policy).comparisons.filter(({ of }) => of === path);
}

interface Entity {
  readonly type: string;
  readonly id: string;
}

interface Comparison {
  /** `resource.name`, `context.arguments.path`, … */
  readonly of: string;
  readonly text: string;
  readonly isPattern: boolean;
}

/** Actions that are on one type of resource only. */
const actionsOn: Readonly<Record<string, readonly string[]>> = { Host: ['net.egress'], File: ['file.read', 'file.write'] };

/** The literals of a policy, and what texts are compared with. */
class Statements {
  readonly entities: Entity[] = [];
  readonly comparisons: Comparison[] = [];
  /** The only resources, or actions, that its scope lets in; empty for any. */
  readonly resources: readonly Entity[];
  readonly actions: readonly Entity[];
  /** Types of the resources that its scope or a condition asks for. */
  readonly #types = new Set<string>();

  constructor({ principal, action, resource, conditions }: PolicyJson) {
    this.#walk({ principal });
    this.actions = this.#scope(action);
    this.resources = this.#scope(resource);
    if ('entity_type' in resource) this.#types.add(resource.entity_type);
    for (const [type, its] of Object.entries(actionsOn))
      if (this.actions.length > 0 && this.actions.every(({ id }) => its.includes(id))) this.#types.add(type);
    for (const { body } of conditions) this.#walk(body);
  }

  speaksOf(type: string): boolean {
    return this.#types.has(type);
  }

  #scope(constraint: object): Entity[] {
    const before = this.entities.length;
    this.#walk(constraint);
    return this.entities.slice(before);
  }

  /** Cedar's JSON of expressions and scopes: what looks like an entity is one, wherever it stands. */
  #walk(node: unknown): void {
    if (node === null || typeof node !== 'object') return;
    if (Array.isArray(node)) {
      for (const item of node) this.#walk(item);
      return;
    }
    if ('type' in node && 'id' in node && typeof node.type === 'string' && typeof node.id === 'string') {
      this.entities.push({ type: node.type, id: node.id });
      return;
    }
    for (const [operator, operand] of Object.entries(node)) {
      if (operator === '==' || operator === '!=') this.#compare(operand.left, operand.right);
      else if (operator === 'contains' || operator === 'containsAny' || operator === 'containsAll')
        this.#compare(operand.right, operand.left);
      else if (operator === 'like') this.#like(operand.left, operand.pattern);
      else if (operator === 'is') this.#types.add(String(operand.entity_type));
      this.#walk(operand);
    }
  }

  #compare(one: unknown, other: unknown): void {
    for (const [path, value] of [
      [pathOfAccess(one), other],
      [pathOfAccess(other), one],
    ] as const) {
      if (path !== null) for (const text of textsOf(value)) this.comparisons.push({ of: path, text, isPattern: false });
    }
  }

  #like(left: unknown, pattern: readonly ('Wildcard' | { readonly Literal: string })[]): void {
    const path = pathOfAccess(left);
    if (path === null) return;
    const text = pattern.map((part) => (part === 'Wildcard' ? '*' : part.Literal)).join('');
    this.comparisons.push({ of: path, text, isPattern: pattern.includes('Wildcard') });
  }
}

/** `context.arguments.path`; null for any other expression. */
export function pathOfAccess(expression: unknown): string | null {
  if (expression === null || typeof expression !== 'object') return null;
  if ('Var' in expression) return String(expression.Var);
  if (!('.' in expression)) return null;
  const { left, attr } = expression['.'] as { left: unknown; attr: string }; // the shape that Cedar documents for `.`
  const base = pathOfAccess(left);
  return base === null ? null : `${base}.${attr}`;
}

function textsOf(expression: unknown): string[] {
  if (expression === null || typeof expression !== 'object') return [];
  if ('Value' in expression) return typeof expression.Value === 'string' ? [expression.Value] : [];
  return 'Set' in expression && Array.isArray(expression.Set) ? expression.Set.flatMap(textsOf) : [];
}

function wrongEntity({ type, id }: Entity): string | null {
  switch (type) {
    case 'Action':
      return wrongAction(id);
    case 'Host': {
      if (id.includes('*'))
        return `${uid(type, id)} never applies, for only \`like\` knows wildcards; write resource is Host with resource.name like ${JSON.stringify(id)}`;
      const host = hostAndPort(id);
      if (host === null) return `${uid(type, id)} is no host; write a name or an address, such as Host::"example.com"`;
      if (host.port !== undefined)
        return `${uid(type, id)} never applies, for a host has no port; write ${uid(type, host.name)} with resource.port == ${host.port}`;
      return host.name === id ? null : `${uid(type, id)} never applies; hosts are compared as ${uid(type, host.name)}`;
    }
    case 'File': {
      if (id.includes('*'))
        return `${uid(type, id)} never applies, for only \`like\` knows wildcards; write resource is File with resource.path like ${JSON.stringify(filePath(plainPath(id)))}`;
      const path = filePath(plainPath(id));
      return path === id ? null : `${uid(type, id)} never applies; files are compared as ${uid(type, path)}`;
    }
    case 'Agent':
      if (/^([a-z0-9][a-z0-9-]{0,62}\/)?[a-z][a-z0-9_-]*$/.test(id)) {
        const own = `${operatorTenant}/`;
        return id.startsWith(own)
          ? `${uid(type, id)} never applies: agents of your own tenant and those of the folder go by their bare name, ${uid(type, id.slice(own.length))}`
          : null;
      }
      return `${uid(type, id)} never applies: names of agents have small letters, digits, - and _, as in ${uid(type, id.toLowerCase().replace(/[^a-z0-9_-]+/g, '-'))}`;
    case 'Tool':
      if (/^[A-Za-z0-9_.-]{1,64}$/.test(id)) return null;
      return id.includes('*')
        ? `${uid(type, id)} never applies, for only \`like\` knows wildcards; write resource is Tool with resource.name like ${JSON.stringify(id)}`
        : `${uid(type, id)} never applies: names of tools have 1 to 64 letters, digits, dots, - and _`;
    case 'Model':
      if (id.includes('*'))
        return `${uid(type, id)} never applies, for only \`like\` knows wildcards; write resource is Model with resource.ref like ${JSON.stringify(id)}`;
      if (id.includes('/')) return null;
      return `${uid(type, id)} never applies: write it with its provider, as in Model::"openai/${id}", or compare resource.model == ${JSON.stringify(id)}`;
    case 'System':
      return SystemPart.safeParse(id).success ? null : unknown(uid(type, id), id, SystemPart.options);
    default:
      return null;
  }
}

function wrongAction(id: string): string | null {
  if (PolicyAction.safeParse(id).success || Object.hasOwn(actionGroups, id)) return null;
  const name = uid('Action', id);
  if (id.startsWith('memory.')) return `nothing asks ${name} yet, so that it would decide nothing; take it out until there is memory`;
  if (id === 'admin.write')
    return `nothing asks ${name}; name what is administered, as in Action::"admin.keys", or all of it by action in Action::"admin"`;
  return unknown(name, id, [...PolicyAction.options, ...Object.keys(actionGroups)]);
}

function unknown(name: string, id: string, known: readonly string[]): string {
  const near = closest(id, known);
  return `there is no ${name}; ${near === null ? `known are ${known.join(', ')}` : `did you mean ${JSON.stringify(near)}?`}`;
}

const rolePaths = ['principal.roles', 'resource.role', 'context.approved.role'];

const fileAttribute = /^resource\.(path|name|extension)$/;

/** Tools that take a path of the session's files, which has one spelling: see `parseWorkspacePath`. */
const fileTool = /^fs_/;

function wrongComparison(said: Statements, of: string, text: string, isPattern: boolean): string | null {
  if (of === 'resource.authority' || (of === 'resource.name' && said.speaksOf('Host'))) {
    const host = hostAndPort(text);
    const right = isPattern ? hostPattern(text) : host && (of === 'resource.name' ? host.name : authorityOf(host));
    if (right === text) return null;
    if (of === 'resource.name' && host?.port !== undefined)
      return `${of} never is ${JSON.stringify(text)}, for it has no port; compare resource.authority`;
    return `${of} never is ${JSON.stringify(text)}; ${right === null ? 'that is no host' : `hosts are compared as ${JSON.stringify(right)}`}`;
  }
  if (of === 'resource.ref' && !isPattern && !text.includes('/'))
    return `${of} never is ${JSON.stringify(text)}, for it has the provider, as in ${JSON.stringify(`openai/${text}`)}; compare resource.model`;
  if (/^(principal|resource)\.tenant$/.test(of) && !(isPattern ? /^[a-z0-9*-]{1,63}$/ : /^[a-z0-9][a-z0-9-]{0,62}$/).test(text))
    return `${of} never is ${JSON.stringify(text)}: names of tenants have 1 to 63 small letters, digits and dashes`;
  if (of === 'principal.name' && text !== text.toLowerCase())
    return `${of} never is ${JSON.stringify(text)}: names of agents and ids of keys have small letters`;
  if (rolePaths.includes(of) && text !== text.toLowerCase())
    return `${of} never is ${JSON.stringify(text)}: roles are compared in small letters, as ${JSON.stringify(text.toLowerCase())}`;
  const ofFile = fileAttribute.exec(of)?.[1];
  if (ofFile !== undefined && (ofFile !== 'name' || said.speaksOf('File'))) {
    const right = filePath(ofFile === 'path' ? plainPath(text) : text);
    if (right !== text) return `${of} never is ${JSON.stringify(text)}; files are compared as ${JSON.stringify(right)}`;
    if (ofFile !== 'path' && text.includes('/'))
      return `${of} never is ${JSON.stringify(text)}, for it has no folders; compare resource.path`;
    if (ofFile === 'extension' && text.startsWith('.'))
      return `${of} never is ${JSON.stringify(text)}, for it has no dot; compare ${JSON.stringify(text.slice(1))}`;
  }
  const isOfFiles = said.resources.length > 0 && said.resources.every(({ type, id }) => type === 'Tool' && fileTool.test(id));
  if (isOfFiles && of === 'context.arguments.path') {
    const right = plainPath(text);
    if (right !== text)
      return `${of} never is ${JSON.stringify(text)}: the file tools know a file by its plain path, as in ${JSON.stringify(right)}`;
  }
  return null;
}

function uid(type: string, id: string): string {
  return `${type}::${JSON.stringify(id)}`;
}
