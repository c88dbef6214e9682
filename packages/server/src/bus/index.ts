/** The door of the bus: its contract, and topics with typed messages. Drivers are opened by `apps` through `#bus/drivers`. */
export type { Bus } from './contract.ts';
export { openTopic, openTopics } from './topic.ts';
