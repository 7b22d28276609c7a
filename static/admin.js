// The policy of these pages allows no <style> elements: htmx is told not to make one (its rules stand in admin.css).
htmx.config.includeIndicatorStyles = false;
