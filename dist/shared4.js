import { t as require_lib } from "./shared2.js";
export default require_lib();
export {};
