// src/cli.ts
console.log("cli");
export {};
