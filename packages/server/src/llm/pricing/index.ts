/** The door of pricing: what calls cost, and what the price catalogue knows of models. */
export { costMicroUsd, reserveMicroUsd } from './cost.ts';
export { createModelFacts } from './facts.ts';
