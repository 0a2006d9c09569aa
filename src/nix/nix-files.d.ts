// The bundler (scripts/nix-text.ts) turns an imported .nix file into its text.
declare module "*.nix" {
  const text: string;
  export default text;
}
