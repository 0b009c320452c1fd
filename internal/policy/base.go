package policy

// base is <base />: the same section of the next wider scope. Merge replaces it.
// https://learn.microsoft.com/azure/api-management/api-management-howto-policies#use-base-element-to-set-policy-evaluation-order
var base = kind{name: "base", sections: sections, once: true, spec: &spec{}}
