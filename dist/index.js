// src/action.ts
console.log("action");
export {};
