export { checkInterfaceName, interfaceNameFault } from '@rxvhost/sys';
