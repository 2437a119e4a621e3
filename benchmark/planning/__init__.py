"""What a comparison would cost, told before anything is trained."""
