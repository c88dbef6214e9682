/** Carries deltas and wake-ups between subscribers, perhaps between processes. Messages may be lost, never reordered within a topic. */
export interface Bus {
  /** True when other processes receive what is published here. */
  readonly spansProcesses: boolean;
  /** To those who listen now: not to one that ends its subscription first, nor to one that begins while others are told. */
  publish(topic: string, message: string): void;
  subscribe(topic: string, listener: (message: string) => void): () => void;
  close(): Promise<void>;
}
