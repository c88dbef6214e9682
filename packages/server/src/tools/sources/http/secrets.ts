/** The values that stand behind `secret:NAME` in definitions. */
export interface ToolSecrets {
  /**
   * The value, where the tenant may send it to this host; null where there is none or the tenant may not, which is one to whoever asks.
   * Policy is asked besides.
   */
  find(tenantId: string, name: string, to: { readonly hostname: string; readonly port: number }): string | null;
}
