// A worker that does not survive its device's first front-end, where it is told so.
import { NullSocket, VhostNet } from '@rxvhost/core';

export interface MortalOptions {
  readonly dies: boolean;
}

export default ({ dies }: MortalOptions): VhostNet => {
  const nic = new VhostNet({ backends: new NullSocket() });
  nic.state$.subscribe((state) => {
    if (dies && state === 'owned') process.exit(3);
  });
  return nic;
};
