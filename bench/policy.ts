/**
 * CPU per policy decision.
 *
 *   node --conditions=nexus-source bench/policy.ts
 *
 * Each operator set has two policies that concern the request; the others name other tools. "unscoped" is the worst
 * case: policies that concern every tool, so that nothing can be left out.
 */
import { systemClock } from '../packages/server/src/core/index.ts';
import { createPolicyEngine, type DecisionRequest, type PolicySource } from '../packages/server/src/policy/index.ts';
import { type Figure, report } from './support/report.ts';

const figures: Figure[] = [];

function operatorSet(count: number, scoped: boolean): PolicySource[] {
  const relevant = [
    'forbid (principal, action == Action::"tool.execute", resource == Tool::"fs_read") when { context.arguments has path && context.arguments.path like "secret/*" };',
    '@obligation("require_approval") permit (principal is Agent, action == Action::"tool.execute", resource == Tool::"fs_read") when { principal.tenant == "acme" };',
  ];
  const others = Array.from({ length: count - relevant.length }, (_, index) =>
    scoped
      ? `permit (principal is Agent, action == Action::"tool.execute", resource == Tool::"tool_${index}") when { context.arguments has path && context.arguments.path like "area${index}/*" };`
      : `permit (principal is Agent, action == Action::"tool.execute", resource) when { context.arguments has path && context.arguments.path like "area${index}/*" };`,
  );
  return [{ name: 'bench', text: [...relevant, ...others].join('\n') }];
}

function question(path: string): DecisionRequest {
  return {
    principal: { type: 'Agent', id: 'chat', tenant: 'acme' },
    action: 'tool.execute',
    resource: { type: 'Tool', id: 'fs_read', attributes: { effects: 'none', permissions: ['fs.read'] } },
    context: { arguments: { path, limit: 100 }, sessionId: 'ses_bench', step: 3, estimatedCostMicroUsd: 12, budgetLeftMicroUsd: 90_000 },
    agentPolicy: { allow: ['fs_*', 'code_js', 'http_fetch'], approve: ['fs_write'], deny: ['fs_delete'] },
    sessionPolicy: { deny: ['http_*'] },
  };
}

function measure(name: string, decisions: number, decide: (index: number) => unknown, bar?: Figure['bar']): void {
  // As many before: V8 optimizes WebAssembly only after it has run for a while, and that would be counted.
  for (let index = 0; index < Math.min(decisions, 3000); index++) decide(index);
  const cpu = process.cpuUsage();
  for (let index = 0; index < decisions; index++) decide(index);
  const { user, system } = process.cpuUsage(cpu);
  figures.push({ name, value: (user + system) / decisions, unit: 'µs', ...(bar === undefined ? {} : { bar }) });
}

const rssBefore = process.memoryUsage.rss();
const startedAt = performance.now();
createPolicyEngine({ clock: systemClock }).decide(question('/data/a.txt'));
figures.push(
  { name: 'first decision of a process (loads Cedar), elapsed', value: performance.now() - startedAt, unit: 'ms' },
  { name: 'memory that it adds', value: (process.memoryUsage.rss() - rssBefore) / 1024 ** 2, unit: 'MB' },
);
for (const count of [10, 1000]) {
  const sources = operatorSet(count, true);
  const plain = createPolicyEngine({ clock: systemClock, sources, memoEntries: 0 });
  const remembering = createPolicyEngine({ clock: systemClock, sources });
  measure(`${count} policies: CPU per decision, nothing remembered`, 3000, (index) => plain.decide(question(`/data/${index}`)), {
    op: '<=',
    value: count === 10 ? 30 : 100,
  });
  measure(`${count} policies: the same question again`, 100_000, (index) => remembering.decide(question(`/data/${index % 50}`)));
}
const unscoped = createPolicyEngine({ clock: systemClock, sources: operatorSet(1000, false), memoEntries: 0 });
measure('1000 policies that concern every tool', 300, (index) => unscoped.decide(question(`/data/${index}`)), { op: '<=', value: 500 });
report('policy decision', figures);
