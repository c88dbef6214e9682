import { writeFile } from 'node:fs/promises';
import { cedarRuntime, defaultPolicies, parseSource } from '../packages/server/src/policy/compile/index.ts';

/** Writes what Cedar reads from the default policies, so that no server has to read them again. A test compares it. */
const path = new URL('../packages/server/src/policy/compile/default-policies.json', import.meta.url);
const policies = parseSource(cedarRuntime().cedar, defaultPolicies, true).map(({ text, json }) => ({ text, json }));
await writeFile(path, `${JSON.stringify(policies, null, 2)}\n`);
