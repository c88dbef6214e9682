/** The door of the blobs' drivers: only `apps` and tests choose one. */
export { createDatabaseBlobs } from './database.ts';
export { openFolderBlobs } from './folder.ts';
export { createKeptBlobs, type KeptBlobs } from './kept.ts';
export { createS3Blobs } from './s3.ts';
