/** The door of session files: folders of what is committed, and what calls change in them. */
export { openSessionFiles, type SessionFiles } from './call-folders.ts';
export { type OwnFolder, openOwnFolder } from './own-folder.ts';
export { compareSurveys, type Survey, surveyFolder } from './survey.ts';
