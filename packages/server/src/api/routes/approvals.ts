import { Approval, ApprovalAnswer, page } from '@nexus-agent/protocol';
import { pageQuery, pageRequest, type Route, route } from '#api/contract';

const tag = 'approvals';
const params = { approval: 'approval' } as const;
const ApprovalsQuery = pageQuery.extend({ status: Approval.shape.status.optional() });

export function approvalRoutes(): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/approvals',
      operationId: 'listApprovals',
      summary: 'List what waits, or waited, for a person',
      tag,
      scope: 'approvals',
      query: ApprovalsQuery,
      responses: { 200: { description: 'A page of approvals', schema: page(Approval) } },
      handle: async ({ services, principal, query }) => ({
        status: 200,
        body: await services.approvals.list(principal, query.status === undefined ? {} : { status: query.status }, pageRequest(query)),
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/approvals/{approval}',
      operationId: 'getApproval',
      summary: 'Show an approval with the exact arguments that would run',
      tag,
      scope: 'approvals',
      params,
      responses: { 200: { description: 'The approval', schema: Approval } },
      handle: async ({ services, principal, params }) => ({
        status: 200,
        body: await services.approvals.get(principal, params.approval ?? ''),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/approvals/{approval}',
      operationId: 'answerApproval',
      summary: 'Answer an approval; the run goes on',
      tag,
      scope: 'approvals',
      params,
      body: ApprovalAnswer,
      bodySize: 'arguments',
      responses: { 200: { description: 'The approval as decided', schema: Approval } },
      handle: async ({ services, principal, params, body }) => ({
        status: 200,
        body: await services.approvals.answer(principal, params.approval ?? '', body),
      }),
    }),
  ];
}
