import { Subscription } from 'rxjs';

/** Calls the handlers on their signals until unsubscribed; a signal may come more than once. */
export function onSignals(
  handlers: Readonly<Partial<Record<NodeJS.Signals, () => void>>>,
): Subscription {
  const subscription = new Subscription();
  for (const [signal, handler] of Object.entries(handlers)) {
    process.on(signal, handler);
    subscription.add(() => process.off(signal, handler));
  }
  return subscription;
}
