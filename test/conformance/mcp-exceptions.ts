/**
 * Scenarios of the suite that are run but not passed, by the revision of the protocol, and why they do not apply. None of them is scored:
 * what a revision requires passes whole. One that passes has to leave this list.
 */
const tasks = 'an extension that is not offered: agents tell their progress within the call';

export const exceptions: Readonly<Record<'2025-11-25' | '2026-07-28', Readonly<Record<string, string>>>> = {
  '2025-11-25': {},
  '2026-07-28': {
    'tasks-lifecycle': tasks,
    'tasks-capability-negotiation': tasks,
    'tasks-wire-fields': tasks,
    'tasks-request-state-removal': tasks,
    'tasks-mrtr-input': tasks,
    'tasks-request-headers': tasks,
    'tasks-dispatch-and-envelope': tasks,
    'tasks-required-task-error': tasks,
    'tasks-mrtr-composition': tasks,
    'http-custom-header-server-validation':
      'pending in the suite itself; headers that repeat arguments are for proxies which route by them, and no decision here rests on a header',
  },
};

const other = 'an extension that is not offered: a token is asked for by a person, or with a secret or key of the operator';

/** The same for a client. */
export const clientExceptions: Readonly<Record<'2025-11-25' | '2026-07-28', Readonly<Record<string, string>>>> = {
  '2025-11-25': {
    'auth/enterprise-managed-authorization': other,
    'auth/dpop': other,
    'auth/dpop-nonce': other,
    'auth/wif-jwt-bearer': other,
  },
  '2026-07-28': {
    'auth/enterprise-managed-authorization': other,
    'auth/dpop': other,
    'auth/dpop-nonce': other,
    'auth/wif-jwt-bearer': other,
  },
};
