import { type DecisionRequest, operatorTenant } from '#policy/compile';

/** An agent that there is not. */
const principal = { type: 'Agent', id: '', tenant: operatorTenant } as const;
const agentPolicy = { allow: ['*', 'net:*'], approve: ['a'], deny: ['b'] };

/** What a run asks one after the other: Cedar compiles the code for each when it first comes to it. Nothing depends on the answers. */
export const warmUpQuestions: readonly DecisionRequest[] = [
  // Of no policy, so that less is done at once.
  { principal, action: 'secret.use', resource: { type: 'Secret', id: '' }, context: {} },
  {
    ...{ principal: { type: 'User', id: '', tenant: operatorTenant, roles: [] }, action: 'run.start', resource: { type: 'Agent', id: '' } },
    context: {},
  },
  {
    ...{ principal, action: 'model.invoke', resource: { type: 'Model', id: 'a/b', attributes: { declared: true } }, agentPolicy },
    context: { priceKnown: true },
  },
  { principal, action: 'tool.execute', resource: { type: 'Tool', id: 'a' }, agentPolicy, context: { arguments: {} } },
  { principal, action: 'net.egress', resource: { type: 'Host', id: 'example.com' }, agentPolicy, context: {} },
];
