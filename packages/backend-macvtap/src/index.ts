export * from './adopt-macvtap.js';
export * from './macvtap-module.js';
export * from './macvtap-provider.js';
export * from './open-macvtap.js';
