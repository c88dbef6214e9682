/** A secret as it goes along with one request, put there once nobody but the server can see it. */
export interface EdgeSecret {
  readonly name: string;
  /** In small letters. */
  readonly header: string;
  /** The whole value of the header. */
  readonly value: string;
  /** Takes the secret out of what was answered, in any usual spelling. */
  clean(text: string): string;
  /** The same of a text that comes in pieces, wherever these are cut. */
  cleanStream(): { push(piece: string): string; end(): string };
}

export interface EdgeSecrets {
  /** What the operator lets the tenant send there; null where there is none, or it may not, which is one to whoever asks. Policy is asked besides. */
  find(tenantId: string, name: string, to: { readonly hostname: string; readonly port: number }): EdgeSecret | null;
}

/** Where there are none. */
export const noEdgeSecrets: EdgeSecrets = { find: () => null };

/** Plain HTTP can be read on the way: a secret goes over it to this machine only. */
export function isThisMachine(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '::1' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}
