import type { PolicySource } from './types.ts';

/**
 * Permits that every installation starts from. Operators narrow them by `forbid`, which always wins, and widen them by
 * their own permits. Tools, hosts, memory and secrets have no default: they need the agent's short form or an operator's permit.
 */
export const defaultPolicies: PolicySource = {
  name: 'default',
  text: `
// A person may start any agent of the tenant: the key's scopes are checked before this.
@id("user-starts-runs")
permit (principal is User, action == Action::"run.start", resource is Agent);

// An agent may start the agents that its definition names as sub-agents.
@id("agent-starts-subagents")
permit (principal is Agent, action == Action::"run.start", resource is Agent)
when { resource has declared && resource.declared };

// An agent may use the models that its definition lists. A model without a known price is denied:
// its cost could not be held to a budget. An operator who accepts that writes a permit for it.
@id("agent-uses-declared-models")
permit (principal is Agent, action == Action::"model.invoke", resource is Model)
when { resource has declared && resource.declared && context.priceKnown };

// What a permitted tool touches of the files of its own session. Narrow it by forbid: each file is asked about.
@id("agent-uses-session-files")
permit (principal is Agent, action in [Action::"file.read", Action::"file.write"], resource is File);

// A person may answer approvals; one that asks for a role needs that role, or the owner's.
@id("user-answers-approvals")
permit (principal is User, action == Action::"approval.grant", resource is Approval);
@id("approval-needs-role")
forbid (principal is User, action == Action::"approval.grant", resource is Approval)
when { resource has role && !principal.roles.contains(resource.role) && !principal.roles.contains("owner") };

// Whoever asked for a run does not allow its calls by the same key, which would be no second look. The owner may, and a key that was given
// the role for it; to deny, to give up and to answer a question is everybody's.
@id("approval-of-own-run")
forbid (principal is User, action == Action::"approval.grant", resource is Approval)
when {
  resource has startedByCaller && resource.startedByCaller && resource has kind && resource.kind != "question" &&
  context has answer && !["deny", "fail"].contains(context.answer) &&
  !principal.roles.containsAny(["owner", "own-approvals"])
};

// A person may delete the tenant's sessions: the key's scopes are checked before this.
@id("user-deletes-sessions")
permit (principal is User, action == Action::"session.delete", resource is Session);

// Owners and administrators run the installation. What all tenants share is the operator's: his definitions, what is no longer kept, and
// what the metrics sum up of everybody.
@id("admin-administers")
permit (principal is User, action in Action::"admin", resource is System)
when {
  principal.roles.contains("owner") ||
  (principal.roles.contains("admin") && (principal.tenant == "default" ||
    !(action in [Action::"admin.definitions", Action::"admin.retention"] || resource == System::"metrics")))
};
`,
};
