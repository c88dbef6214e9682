/** The door of what is shown to people. A door of its own: the command line wants it before anything else is loaded. */
export { createVisible, visible, visibleLine } from './visible.ts';
