import { howMany } from '../support/how-many.ts';
import { verifies } from '../support/verifies.ts';
import { describeIsolation } from './isolation/describe.ts';

describeIsolation(verifies('sim.isolation'), howMany('NEXUS_TEST_INTERLEAVINGS', 3));
