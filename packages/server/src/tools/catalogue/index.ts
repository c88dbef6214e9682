/** The door of the catalogue: which tools a tenant has, in which version. */
export { type CataloguedTool, createToolCatalogue, type TenantTools, type ToolCatalogue } from './catalogue.ts';
export { checkTools } from './check-tools.ts';
export { createFixedSource } from './fixed-source.ts';
