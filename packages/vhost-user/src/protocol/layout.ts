/** The messages of vhost-user are C structures; how those are laid out is not this protocol's own. */
export * from '@rxvhost/core/layout';
