// lint.mjs FILE...: lints OpenAPI and AsyncAPI documents; prints what is wrong, and fails then.
import { readFile } from 'node:fs/promises';
import { createConfig, lintFromString } from '@redocly/openapi-core';

// The events' schemas stand in the OpenAPI document for tools that make types of it.
const config = await createConfig({ extends: ['recommended-strict'], rules: { 'no-unused-components': 'off' } });
let wrong = 0;
for (const file of process.argv.slice(2)) {
  for (const problem of await lintFromString({ source: await readFile(file, 'utf8'), absoluteRef: file, config })) {
    console.log(`${file} ${problem.location[0]?.pointer} ${problem.ruleId}: ${problem.message}`);
    wrong += 1;
  }
}
process.exitCode = wrong === 0 ? 0 : 1;
