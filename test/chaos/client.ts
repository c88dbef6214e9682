import { Approval, type ApprovalAnswer } from '@nexus-agent/protocol';
import { z } from 'zod';

const Approvals = z.object({ data: z.array(Approval) });

/** The questions that wait for a person, by the run that asks. */
export async function pendingApprovals(url: string): Promise<Map<string, Approval>> {
  const response = await fetch(`${url}/v1/approvals?status=pending&limit=100`);
  const { data } = Approvals.parse(await response.json());
  return new Map(data.map((approval) => [approval.runId, approval]));
}

export async function answerApproval(url: string, approvalId: string, answer: ApprovalAnswer): Promise<number> {
  const response = await fetch(`${url}/v1/approvals/${approvalId}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(answer),
  });
  await response.text();
  return response.status;
}
