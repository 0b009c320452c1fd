# shellcheck shell=sh
# What the scripts share. They need az and a POSIX shell, nothing else.
#
# az is a program of Windows where the shell is Git Bash, which rewrites arguments that begin with "/"
# as if they were paths. So addresses of Azure are given in full, and files by names without a folder:
# private_folder.

# -h prints the comment at the top of the script.
case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit "${2:-1}"
}

say() {
  printf '%s\n' "$*"
}

no_arguments() {
  [ $# -eq 0 ] || fail "unknown argument $1: want none, or -h" 2
}

# need NAME...: these variables come from `azd env get-values`, or by hand.
need() {
  for name; do
    eval "value=\${$name:-}"
    [ -n "$value" ] || fail "$name is not set: run it as a hook of azd, or first: eval \"\$(azd env get-values | sed 's/^/export /')\"" 2
  done
}

graph_url() {
  az cloud show --query endpoints.microsoftGraphResourceId --output tsv | sed 's,/*$,/v1.0,'
}

# management_url: Azure Resource Manager of this cloud, without a slash at the end.
management_url() {
  az cloud show --query endpoints.resourceManager --output tsv | sed 's,/*$,,'
}

# pause N: longer with each try. RELAY_PAUSE is the unit in seconds.
pause() {
  sleep "$((${RELAY_PAUSE:-2} * $1))"
}

# private_folder: moves into a new folder that only we can read, for what must not stand in a process
# list. Files are named without a folder from here on. Removed at the end whatever happens.
private_folder() {
  umask 077
  PRIVATE=$(mktemp -d) || fail "no temporary folder"
  trap 'cd / && rm -rf "$PRIVATE"' EXIT
  trap 'exit 130' INT TERM
  cd "$PRIVATE" || fail "no temporary folder"
}

# site_url MANAGEMENT APP: the app in Azure Resource Manager.
site_url() {
  printf '%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Web/sites/%s' \
    "$1" "$AZURE_SUBSCRIPTION_ID" "$AZURE_RESOURCE_GROUP" "$2"
}

# refresh_references MANAGEMENT APP: have the app read its Key Vault references again and wait until
# all are resolved. A restart would not do it. Prints the names that stay unresolved; status 1 if
# there are any.
refresh_references() {
  references="$(site_url "$1" "$2")/config/configreferences/appsettings"
  az rest --method POST --url "$references/refresh?api-version=2022-03-01" --output none || return 1
  try=1
  while :; do
    left=$(az rest --method GET --url "$references?api-version=2022-03-01" \
      --query "value[?properties.status!='Resolved'].name" --output tsv) || return 1
    [ -n "$left" ] || return 0
    [ "$try" -lt "${RELAY_TRIES:-10}" ] || break
    pause "$try"
    try=$((try + 1))
  done
  printf '%s\n' "$left"
  return 1
}

# store_secret MANAGEMENT NAME FILE: the content of FILE becomes the secret, in the private folder.
# By the control plane: it wants the right to write secrets that a deployment has anyway, none to read
# them, and reaches a vault that is closed to the network.
store_secret() {
  printf '{"properties":{"value":"%s"}}' "$(tr -d '\r\n' <"$3" | sed 's/[\\"]/\\&/g')" >secret-body
  az rest --method PUT --url "$1$RELAY_VAULT_ID/secrets/$2?api-version=2025-05-01" \
    --headers Content-Type=application/json --body @secret-body --output none
}

# hosts: the host names in RELAY_HOSTS, which azd hands over as a JSON list.
hosts() {
  printf '%s' "$RELAY_HOSTS" | tr -cd 'A-Za-z0-9.,-' | tr ',' ' '
}

# service_url MANAGEMENT [ID]: an API Management service in Azure Resource Manager: the one with this
# resource id, else the deployment's.
service_url() {
  case ${2:-} in
    '')
      need RELAY_APIM RELAY_APIM_GROUP RELAY_APIM_SUBSCRIPTION
      printf '%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ApiManagement/service/%s' \
        "$1" "$RELAY_APIM_SUBSCRIPTION" "$RELAY_APIM_GROUP" "$RELAY_APIM"
      ;;
    /subscriptions/*/providers/Microsoft.ApiManagement/service/*) printf '%s%s' "$1" "${2%/}" ;;
    *) fail "--service: want a resource id (az apim list --query \"[].id\"), got $2" 2 ;;
  esac
}
