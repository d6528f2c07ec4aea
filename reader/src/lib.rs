//! Serves stored records as time series over REST.
