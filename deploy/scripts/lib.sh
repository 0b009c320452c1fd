# shellcheck shell=sh
# What the scripts share. They need az and a POSIX shell, nothing else.

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

say() {
  printf '%s\n' "$*"
}

# need NAME...: these variables come from `azd env get-values`, or by hand.
need() {
  for name; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || fail "$name is not set: run it as a hook of azd, or first: eval \"\$(azd env get-values | sed 's/^/export /')\"" 2
  done
}

graph_url() {
  az cloud show --query endpoints.microsoftGraphResourceId -o tsv | sed 's,/*$,/v1.0,'
}

# pause N: longer with each try. RELAY_PAUSE is the unit in seconds.
pause() {
  sleep "$((${RELAY_PAUSE:-2} * $1))"
}

# A file that only we can read, for what must not stand in a process list. Removed at the end whatever happens.
secret_file() {
  if [ -z "${SECRETS:-}" ]; then
    SECRETS=$(mktemp -d) || fail "no temporary folder"
    trap 'rm -rf "$SECRETS"' EXIT
    trap 'exit 130' INT TERM
  fi
}

# site_url APP: the app in Azure Resource Manager.
site_url() {
  printf '/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Web/sites/%s' "$AZURE_SUBSCRIPTION_ID" "$AZURE_RESOURCE_GROUP" "$1"
}

# refresh_references APP: have the app read its Key Vault references again and wait until all are resolved. A restart would not do it.
# Prints the names that stay unresolved; status 1 if there are any.
refresh_references() {
  az rest --method POST --url "$(site_url "$1")/config/configreferences/appsettings/refresh?api-version=2022-03-01" --output none || return 1
  try=1
  while :; do
    left=$(az rest --method GET --url "$(site_url "$1")/config/configreferences/appsettings?api-version=2022-03-01" \
      --query "value[?properties.status!='Resolved'].name" --output tsv) || return 1
    [ -n "$left" ] || return 0
    [ "$try" -lt "${RELAY_TRIES:-10}" ] || break
    pause "$try"
    try=$((try + 1))
  done
  printf '%s\n' "$left"
  return 1
}

# hosts: the host names in RELAY_HOSTS, which azd hands over as a JSON list.
hosts() {
  printf '%s' "$RELAY_HOSTS" | tr -cd 'A-Za-z0-9.,-' | tr ',' ' '
}
