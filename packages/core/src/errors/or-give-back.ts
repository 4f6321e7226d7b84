/**
 * Does something with a resource that the caller has handed over; should that throw, the resource is
 * given back first: whoever is handed something owns it, whether the call succeeds or not.
 */
export function orGiveBack(giveBack: () => void, action: () => void): void {
  try {
    action();
  } catch (error) {
    giveBack();
    throw error;
  }
}
