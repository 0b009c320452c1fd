// Alerts on what otherwise stays unseen: refused calls, a timer that did not run, settings that did
// not resolve.
param location string
param tags { *: string }
param suffix string
param insightsId string
param actionGroups string[]
@description('Functions with a timer, and their longest pause: 0 where it is not known.')
param timers { name: string, minutes: int }[]

var rules = [
  {
    name: 'refusals'
    displayName: 'The gateway refuses our calls'
    severity: 1
    frequency: 'PT5M'
    window: 'PT15M'
    query: loadTextContent('../queries/alert-refusals.kql')
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'settings'
    displayName: 'App settings are incomplete or a Key Vault reference is unresolved'
    severity: 1
    frequency: 'PT5M'
    window: 'PT15M'
    query: loadTextContent('../queries/alert-settings.kql')
    operator: 'GreaterThan'
    threshold: 0
  }
]

// Some of the windows that a rule may have; there is none longer than two days.
var windows = [
  { minutes: 60, duration: 'PT1H' }
  { minutes: 360, duration: 'PT6H' }
  { minutes: 1440, duration: 'P1D' }
  { minutes: 2880, duration: 'P2D' }
]
// Two runs have to fall into the window, or the alert would fire between them.
var watched = filter(timers, timer => timer.minutes > 0 && timer.minutes <= 1440)
var missed = loadTextContent('../queries/alert-missed-timer.kql')
var timerRules = map(watched, timer => {
  name: 'missed-${timer.name}'
  displayName: 'The timer function ${timer.name} did not run'
  severity: 2
  frequency: 'PT30M'
  window: filter(windows, window => window.minutes >= 2 * timer.minutes)[0].duration
  query: replace(missed, '<function>', timer.name)
  operator: 'LessThan'
  threshold: 1
})

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in concat(rules, timerRules): {
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
            operator: rule.operator
            threshold: rule.threshold
          }
        ]
      }
      // A component that is new may not know its tables yet.
      skipQueryValidation: true
      autoMitigate: true
      actions: {
        actionGroups: actionGroups
      }
    }
  }
]
