// The bundler (scripts/text-files.ts) turns imported files of these kinds into their text.
declare module "*.nix" {
  const text: string;
  export default text;
}
declare module "*.sh" {
  const text: string;
  export default text;
}
declare module "*.html" {
  const text: string;
  export default text;
}
