// Alerts on what otherwise stays unseen: refused calls, a timer that did not run, settings that did not resolve.
param location string
param tags object
param suffix string
param insightsId string
param actionGroups string[]
@description('Functions with a timer: one alert each.')
param timers string[]

var refusals = {
  name: 'refusals'
  displayName: 'The gateway refuses our calls'
  severity: 1
  frequency: 'PT5M'
  window: 'PT15M'
  query: loadTextContent('../queries/alert-refusals.kql')
}
var settings = {
  name: 'settings'
  displayName: 'App settings are incomplete or a Key Vault reference is unresolved'
  severity: 1
  frequency: 'PT5M'
  window: 'PT15M'
  query: loadTextContent('../queries/alert-settings.kql')
}
var missed = loadTextContent('../queries/alert-missed-timer.kql')

resource found 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in [refusals, settings]: {
    name: 'alert-${rule.name}-${suffix}'
    location: location
    tags: tags
    properties: {
      displayName: rule.displayName
      severity: rule.severity
      enabled: true
      evaluationFrequency: rule.frequency
      windowSize: rule.window
      scopes: [
        insightsId
      ]
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
          }
        ]
      }
      autoMitigate: true
      actions: {
        actionGroups: actionGroups
      }
    }
  }
]

resource absent 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for timer in timers: {
    name: 'alert-missed-${timer}-${suffix}'
    location: location
    tags: tags
    properties: {
      displayName: 'The timer function ${timer} did not run'
      severity: 2
      enabled: true
      evaluationFrequency: 'PT30M'
      windowSize: 'PT1H'
      scopes: [
        insightsId
      ]
      criteria: {
        allOf: [
          {
            query: replace(missed, '<function>', timer)
            timeAggregation: 'Count'
            operator: 'LessThan'
            threshold: 1
          }
        ]
      }
      autoMitigate: true
      actions: {
        actionGroups: actionGroups
      }
    }
  }
]
