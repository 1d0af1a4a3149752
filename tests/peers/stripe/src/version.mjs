/** The API version that async-stripe 1.0.0-rc.10, stripe 23.0 (npm) and stripe 16.0 (PyPI) speak. */
export const API_VERSION = '2026-09-30.endive';
