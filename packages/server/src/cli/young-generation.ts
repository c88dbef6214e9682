import { setFlagsFromString } from 'node:v8';

/**
 * Keeps V8 from enlarging its young generation until the returned function is called. What is made while a server starts
 * (modules, schemas, routes) lives as long as the process: it may as well go to the old generation at once. Otherwise the
 * young one grows for it to some 30 MB, which an idle server then keeps. Under load it grows as ever.
 */
export function holdYoungGeneration(): () => void {
  setFlagsFromString('--semi-space-growth-factor=1');
  return () => setFlagsFromString('--semi-space-growth-factor=2');
}
