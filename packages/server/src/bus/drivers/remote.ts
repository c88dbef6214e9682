export interface RemoteBusOptions {
  readonly url: string;
  /** Told about lost connections and failing listeners; the bus goes on. */
  readonly onError: (error: unknown) => void;
}
