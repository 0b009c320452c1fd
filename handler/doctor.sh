#!/bin/sh
# Says why calls are refused: doctor.sh HANDLER [APP]. `make doctor` calls it. Without APP the checks run here; with the name of a deployed app its function
# doctor is asked, by the master key that az fetches, and its table is printed. The exit status is that of `handler doctor`.
#
# RELAY_ROUTE_PREFIX is the app's route prefix where it is not api; AZURE_RESOURCE_GROUP saves looking for the app.
set -eu
handler=$1
app=${2:-}
[ -n "$app" ] || exec "$handler" doctor

fail() {
  printf 'make doctor: %s\n' "$1" >&2
  exit 2
}

command -v az >/dev/null || fail "az is not installed: install the Azure CLI (https://aka.ms/azure-cli)"
case $app in
  *[!A-Za-z0-9-]*) fail "APP is $app: want the name of a function app" ;;
esac
group=${AZURE_RESOURCE_GROUP:-$(az functionapp list --query "[?name=='$app'].resourceGroup | [0]" --output tsv)} || fail "az could not list the apps: run az login"
[ -n "$group" ] || fail "no function app $app in this subscription: az account set --subscription <id>, or set AZURE_RESOURCE_GROUP"
host=$(az functionapp show --name "$app" --resource-group "$group" --query defaultHostName --output tsv) || fail "no function app $app in the resource group $group"

# The key goes by file: arguments can be read by every process of the machine.
umask 077
dir=$(mktemp -d) || fail "no temporary folder"
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
az functionapp keys list --name "$app" --resource-group "$group" --query "{\"x-functions-key\": masterKey}" --output json >"$dir/headers" ||
  fail "az could not read the keys of $app: want the role Website Contributor on it"
az rest --skip-authorization-header --method GET --url "https://$host/${RELAY_ROUTE_PREFIX:-api}/doctor" --headers "@$dir/headers" --output json >"$dir/report" ||
  fail "the function doctor of $app did not answer: is it deployed, and is the app running?"
status=0
"$handler" doctor -show "$dir/report" || status=$?
exit "$status"
