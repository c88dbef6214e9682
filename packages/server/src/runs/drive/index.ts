/** The door of runs/drive. */
export { type ChildCall, type Executor, type ExecutorEnd, type ExecutorOptions, startExecutor } from './executor.ts';
export { createRunSpans, startRunSpan } from './spans.ts';
export { outsideResource } from './tool-call.ts';
