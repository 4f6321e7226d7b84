export * from './backends/backend-factory.js';
export * from './backends/backend-spec.js';
export * from './usage-error.js';
